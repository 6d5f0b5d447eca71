"""How bytes move: boxes within the budget, stored chunks passed through, outputs published whole."""
