"""Fuzzing: hundreds of thousands of malformed bodies must cause no crash and no 5xx status.

    image    service.images.decode.decode, coverage-guided (atheris, libFuzzer)
    oip      service.oip.codec.decode, coverage-guided
    http     mutated bodies, posted to the routes of a running server
    schema   requests generated from the OpenAPI document, valid and invalid (schemathesis)

``make fuzz`` runs all four parts for a fixed time and prints the tally.
"""
