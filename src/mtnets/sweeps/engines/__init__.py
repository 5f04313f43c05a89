"""What says which settings are tried. A library that it takes is imported when it is used."""
