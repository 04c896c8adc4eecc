"""`beingh monitor`: a page of text about a running robot, and a recording of it, for those without RViz."""
