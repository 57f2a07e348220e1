"""``warpguard evaluate``: what a defence costs on a folder of labelled images.

::

    folder ──► data ──► subject ──► outcomes ──► report ──► recommendation ──► text, page
               labels   local, endpoint  state   intervals

``measure.py`` is the loop: it gives each image to a subject, which is a model in this process or
behind an endpoint, and keeps what it answered in a file, from which a later run goes on. The report
is everything that is shown; the text and the page only lay it out.
"""
