"""The service: images come in over HTTP, pass through a defence, and are classified.

The way of a request::

    socket ──► server ──► middleware ──► auth ──► api, oip ──► predictor ──► answer
                                                                  │
      images      bytes ↔ pixels                                  │  decode
      defenses    one or more draws of the defence                │  defend
      models      pixels → tensor, session                        │  preprocess, infer
      scheduling  threads, batches, admission, deadlines          │  batch

``predictor.py`` is that spine. It reads from top to bottom, and ends with the mean over the draws.
``transformer/`` is its counterpart for a classifier that is served elsewhere. ``app.py`` puts a
server together, ``backend.py`` holds what its routes share and ``dependencies.py`` hands it to
them, and ``settings/`` has every flag. ``telemetry/`` has metrics, logs and traces, and
``signals/`` looks for attacks after the answers. ``cli/`` has the commands: ``evaluate/`` measures
what a defence costs, and ``monitor/`` has what ``warpguard watch`` shows.

``errors.py`` has each error's status and code. An error's message is written where it is raised,
and ``error_response.py`` turns any error into an answer with its headers. ``spelling.py`` finds the
name that was meant.

At the top of each folder are its spine and its contracts; a folder is a reason to change.
"""

from importlib.metadata import version

__version__ = version("warpguard")
