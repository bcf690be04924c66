"""The test machine's side: what runs tests and writes their log. Of the rest it knows the log format alone."""
