"""A trained agent behind HTTP: an API, a page, sessions that last, a log for learning.

`app` has the routes, `lists` and `conversations` what they do, `programs` the compiled
calls. The modules import FastAPI and, where they are used, the clients of stores; the
client of the server is `dlerse_jax.serving.Client`.
"""
