"""Who can say what a name means. A source is a callable `(name, hints) -> Answer`; choosing and judging happen elsewhere."""
