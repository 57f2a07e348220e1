"""The service: images come in over HTTP, pass through a defence, and are classified.

The way of a request::

    socket ──► server ──► middleware ──► auth ──► api, oip ──► predictor ──► answer
                                                                  │
      images      bytes ↔ pixels                                  │  decode
      defenses    one draw for each image                         │  defend
      models      pixels → tensor, session                        │  preprocess, infer
      scheduling  threads, batches, limits, deadlines             │  batch

``predictor.py`` is that spine, and reads from top to bottom. ``transformer/`` is its counterpart
for a classifier that is served elsewhere. ``app.py`` puts a server together, ``backend.py`` holds
what its routes share, ``errors.py`` and ``error_response.py`` are everything that can go wrong, and
``settings.py`` is every flag. ``telemetry/`` has metrics, logs and traces; ``cli/`` the commands.

At the top of each folder are its spine and its contracts; a folder is a reason to change.
"""

from importlib.metadata import version

__version__ = version("warpguard")
