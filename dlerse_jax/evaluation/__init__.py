"""How good an agent is: rollouts, one number per user, and intervals over them."""
