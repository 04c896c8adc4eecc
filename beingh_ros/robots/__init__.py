"""`beingh robots`: which robots there are, what their contracts say, and whether contract and running robot fit."""
