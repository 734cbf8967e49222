"""Whether this is `make fuzz`, which has time for every agent.

Tests that ask the same of each agent ask every day those whose code differs most.
"""

import os

IS_FUZZ = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"
