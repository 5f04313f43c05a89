"""One contender in each file, as short as it can be; written from the published algorithms and from documentation."""
