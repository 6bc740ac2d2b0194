"""What people look at: figures, and one page that opens without network."""
