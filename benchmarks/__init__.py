"""How quick, how small: made-up nights of tests, and what is measured on them. Nothing here is installed."""
