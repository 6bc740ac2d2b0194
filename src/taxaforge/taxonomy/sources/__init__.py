"""Who can say what a name means. A source is a callable `Name -> Answer`; choosing and judging happen elsewhere."""
