"""The file of ``warpguard calibrate``: thresholds for one model and one defence, on some images."""

from pathlib import Path
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from defenses import Pipeline
from models import Manifest, write_atomically
from service.errors import SetupError
from service.signals.squeeze import DRAWS

FORMAT: Final = 1
"""The version of the file's fields."""
_MAKE = "Make one with 'warpguard calibrate'."


class CalibrationError(SetupError):
    """A calibration cannot be read or written, or is not for this server."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NamedDigest(_Part):
    """A model or a defence.

    Attributes:
        name: the model's name, or the defence's specification.
        sha256: of the model's graph, or of the specification and the files that it names.
    """

    name: str
    sha256: str | None


class SqueezeLimit(_Part):
    """From where on the signal squeeze flags an image.

    Attributes:
        draws: how many draws were compared with the image without a defence.
        threshold: the L1 distance of the probabilities, in [0, 2]; images beyond it are flagged.
        rate_low: the share of further images like these that is flagged, at 95 % confidence at
            least this, and at most ``rate_high``; both in [0, 1].
    """

    draws: int = Field(ge=1)
    threshold: float = Field(ge=0)
    rate_low: float = Field(ge=0, le=1)
    rate_high: float = Field(ge=0, le=1)


class Neighbors(_Part):
    """How many of 256 other images an image is like.

    Attributes:
        mean: over the images.
        most: the most that one image has.
    """

    mean: float = Field(ge=0)
    most: float = Field(ge=0)


class Concentration(Neighbors):
    """The same for the signal concentration.

    Attributes:
        least_cosine: from where on scores point the same way, in [-1, 1].
    """

    least_cosine: float = Field(ge=-1, le=1)


class Coverage(_Part):
    """What one value of ``--min-agreement`` does.

    Attributes:
        min_agreement: the value, in [0, 1].
        unsure: the share of the answers that are unsure.
        wrong: the share of the other answers that are wrong; None without labels.
    """

    min_agreement: float = Field(ge=0, le=1)
    unsure: float = Field(ge=0, le=1)
    wrong: float | None = Field(ge=0, le=1)


class Calibration(_Part):
    """What was measured on some images.

    Attributes:
        format: the version of these fields.
        created: when.
        version: of warpguard.
        model: the model that answered.
        defense: the defence that it was behind.
        draws: of each image, for ``agreement``.
        images: how many there were, without those that are bit-identical.
        false_alarms: the promised share of further images that squeeze flags.
        squeeze: its threshold.
        same_picture: how many images are one picture.
        concentration: its threshold; None if the model has too few classes for it.
        agreement: by value of ``--min-agreement``, in ascending order.
    """

    format: Literal[1] = FORMAT
    created: AwareDatetime
    version: str
    model: NamedDigest
    defense: NamedDigest
    draws: int = Field(ge=1)
    images: int = Field(ge=1)
    false_alarms: float = Field(gt=0, lt=1)
    squeeze: SqueezeLimit
    same_picture: Neighbors
    concentration: Concentration | None
    agreement: tuple[Coverage, ...]

    @classmethod
    def read(cls, path: Path, defense: Pipeline) -> "Calibration":
        """Read a file.

        Args:
            path: the file.
            defense: the defence that it must be for.

        Raises:
            CalibrationError: it cannot be read, is not a calibration of this format, or is for
                another defence.
        """
        named = f"--calibration {path}"
        try:
            document = from_json(path.read_bytes())
        except OSError as error:
            raise CalibrationError(f"{named} cannot be read: {error.strerror}.") from None
        except ValueError:
            raise CalibrationError(f"{named} is not JSON. {_MAKE}") from None
        found = document.get("format") if isinstance(document, dict) else None
        if found != FORMAT:
            raise CalibrationError(
                f"{named} has the format {found!r:.40}, and this version of warpguard reads the "
                f"format {FORMAT}. {_MAKE}"
            )
        try:
            calibration = cls.model_validate(document)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            place = ".".join(map(str, problem["loc"]))
            raise CalibrationError(
                f"{named} is not valid: {place}: {problem['msg']}. {_MAKE}"
            ) from None
        calibration.check_defense(defense)
        return calibration

    def write(self, path: Path) -> None:
        """Write the file whole or not at all.

        Raises:
            CalibrationError: it cannot be written; an existing file is unchanged.
        """
        text = self.model_dump_json(indent=2) + "\n"
        try:
            write_atomically(path, text.encode(), parents=False)
        except OSError as error:
            raise CalibrationError(f"{path} cannot be written: {error.strerror}.") from None

    def check_defense(self, defense: Pipeline) -> None:
        """Make sure that it is for a defence, and for the draws that squeeze compares.

        Raises:
            CalibrationError: it is for another one; the message names both.
        """
        try:
            digest = defense.digest()
        except OSError as error:
            raise CalibrationError(f"{defense} cannot be read: {error.strerror}.") from None
        if self.defense.sha256 != digest:
            changed = " with other content" if self.defense.name == str(defense) else ""
            raise CalibrationError(
                f"The calibration is for the defence {self.defense.name}{changed}, and --defense "
                f"is {defense}. Calibrate again with 'warpguard calibrate --defense', or serve "
                "with the calibration's defence."
            )
        if self.squeeze.draws != DRAWS:
            raise CalibrationError(
                f"The calibration's threshold is for {self.squeeze.draws} draws, and the signal "
                f"squeeze compares {DRAWS}. Calibrate again."
            )

    def check_model(self, manifest: Manifest) -> None:
        """Make sure that it is for a model.

        Raises:
            CalibrationError: it is for another one; the message names both.
        """
        if self.model.sha256 is None or self.model.sha256 != manifest.sha256:
            raise CalibrationError(
                f"The calibration is for the model {_named(self.model)}, and the server's is "
                f"{_named(NamedDigest(name=manifest.name, sha256=manifest.sha256))}. Calibrate "
                "again with 'warpguard calibrate --model', or serve with the calibration's model."
            )


def _named(model: NamedDigest) -> str:
    return f"{model.name} (SHA-256 {(model.sha256 or 'unknown')[:12]})"
