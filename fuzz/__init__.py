"""Fuzzing: hundreds of thousands of malformed bodies must cause no crash and no 5xx status.

    image      image files to pixels, coverage-guided (atheris, libFuzzer)
    container  the walk over image files, within a ceiling of time and memory, coverage-guided
    oip        service.oip.codec.decode, coverage-guided
    http       mutated bodies, posted to the routes of a running server
    schema     requests generated from the OpenAPI document, valid and invalid (schemathesis)

``make fuzz`` runs all five parts for a fixed time and prints the tally.
"""
