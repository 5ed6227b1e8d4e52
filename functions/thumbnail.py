"""Shrink an image to fit a box; files are below the folder of files (LANEWORK_FILES_DIR)."""

from pathlib import PurePosixPath
from typing import Annotated

from PIL import Image, UnidentifiedImageError
from pydantic import Field

from runtime import Context, Permanent, function

Side = Annotated[int, Field(ge=1, le=10_000, description="pixels")]


@function(lane="low", timeout=60)
def handle(
    ctx: Context,
    path: PurePosixPath,
    width: Side = 256,
    height: Side = 256,
    output: PurePosixPath | None = None,
) -> dict[str, str | int]:
    target = output or path.with_stem(f"{path.stem}-{width}x{height}")
    try:
        with Image.open(ctx.file(path)) as image:
            image.thumbnail((width, height))
            image.save(ctx.file(target))
            return {"path": str(target), "width": image.width, "height": image.height}
    except FileNotFoundError as error:
        raise Permanent(f"no file {path}") from error
    except (UnidentifiedImageError, ValueError) as error:
        raise Permanent(f"{path} cannot be made into {target}: {error}") from error
