"""The Dockerfile, and what a container's arguments mean to the service."""

import re
import shlex
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

import service.server.run
from service.cli.main import main

DOCKERFILE = Path(__file__).parents[2] / "docker" / "Dockerfile"


class Dockerfile:
    """What the stages of the Dockerfile say.

    Attributes:
        stages: each stage's instructions as (name, value), and the stage or image it starts from.
    """

    def __init__(self, path):
        self.stages = {}
        with path.open("rb") as file:
            structure = DockerfileParser(fileobj=file).structure
        for line in structure:
            if line["instruction"] == "FROM":
                origin, _, name = line["value"].split()
                instructions = []
                self.stages[name] = (origin, instructions)
            elif line["instruction"] != "COMMENT":
                instructions.append((line["instruction"], line["value"]))

    def all(self, stage, instruction):
        """The values of an instruction, those of the stages that it starts from first."""
        origin, instructions = self.stages[stage]
        before = self.all(origin, instruction) if origin in self.stages else []
        return [*before, *(value for name, value in instructions if name == instruction)]

    def last(self, stage, instruction):
        """The value that counts."""
        return self.all(stage, instruction)[-1]

    def pairs(self, stage, instruction):
        """The pairs NAME=value of ENV or LABEL."""
        values = self.all(stage, instruction)
        return dict(pair.split("=", 1) for value in values for pair in shlex.split(value))

    def needed(self, stage):
        """The stages that a stage starts from or copies from."""
        origin, instructions = self.stages[stage]
        copied = re.findall(r"--from=(\S+)", " ".join(value for _, value in instructions))
        return [name for name in (origin, *copied) if name in self.stages]


@pytest.fixture(scope="session")
def dockerfile():
    return Dockerfile(DOCKERFILE)


@pytest.fixture
def settings_of(dockerfile, monkeypatch):
    """The settings that a container's arguments and variables make; nothing is served."""

    def parse(arguments, environment=None):
        found = []
        with monkeypatch.context() as patch:
            patch.setattr(service.server.run, "serve", lambda settings: found.append(settings) or 0)
            for name, value in {**dockerfile.pairs("cpu", "ENV"), **(environment or {})}.items():
                patch.setenv(name, value)
            assert main([str(argument) for argument in arguments]) == 0
        return found[0]

    return parse
