"""Labels that people make by hand: journals of every entry, and the annotations made from them."""
