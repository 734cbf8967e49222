"""A trained agent behind HTTP: an API, a page, sessions that last, a log for learning.

`app` has the routes, `service` what they do, `model` the compiled calls. The modules
import FastAPI and the clients of stores; `client` needs the standard library alone.
"""
