"""Files that are never half-written: archives of a state or model, and the parsing of text that arrives in blocks."""
