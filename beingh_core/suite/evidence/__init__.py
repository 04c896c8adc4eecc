"""`beingh evidence`: the claims of the paper, each with an experiment that anybody can repeat, on one page."""
