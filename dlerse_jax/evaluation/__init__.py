"""How good an agent is: rollouts, one number a user, and intervals over them."""
