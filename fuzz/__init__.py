"""Fuzzing: malformed bodies by the hundred thousand, and not one crash or 5xx.

    image    service.images.decode.decode, coverage-guided (atheris, libFuzzer)
    oip      service.oip.codec.decode, likewise
    http     mutated bodies, posted to every route of a running server
    schema   requests made from the OpenAPI document, and made wrong (schemathesis)

``make fuzz`` runs all of them for a fixed time, prints the tally and writes it down.
"""
