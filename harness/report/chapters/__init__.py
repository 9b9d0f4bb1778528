"""What the report says: tables, sentences and sections, in no format."""
