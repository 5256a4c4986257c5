"""Loading settings from a YAML file, and saving them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ipywidgets as w

from workbench.config import SearchConfig
from workbench.settings import ConfigError
from workbench.trace.folder import replace_text
from workbench.widgets import style

_HEAD = "# settings of `workbench search`; what is not here is as the method's paper says\n"


class Files:
    """A path, Load, Save and Upload.  `box` is what is shown.

    Args:
        fill: takes the settings that were loaded.
        config: gives those to save; None if something is wrong with them.
    """

    def __init__(
        self, fill: Callable[[SearchConfig], None], config: Callable[[], SearchConfig | None]
    ) -> None:
        self._fill, self._config = fill, config
        self._mine: set[Path] = set()  # files that were loaded or saved here
        self.path = w.Text(value="search.yaml", description="file")
        self.load = w.Button(description="Load", tooltip="put the settings of the file in")
        self.save = w.Button(description="Save", tooltip="write what differs from the defaults")
        self.overwrite = w.Checkbox(description="overwrite another file", indent=False)
        self.upload = w.FileUpload(description="Upload", accept=".yaml,.yml", multiple=False)
        self.message = w.HTML()
        self.path.add_class("wb-grow")
        bar = w.HBox([self.path, self.load, self.save, self.upload, self.overwrite])
        bar.add_class("wb-bar")
        self.box = w.VBox([bar, self.message])
        self.box.add_class("wb-files")
        self.load.on_click(lambda _: self._told(self._load))
        self.save.on_click(lambda _: self._told(self._save))
        self.upload.observe(lambda _: self._told(self._take), "value")

    def _told(self, does: Callable[[], str]) -> None:
        try:
            self.message.value = style.said(does())
        except (ConfigError, OSError) as error:
            self.message.value = style.error(str(error))

    def _load(self) -> str:
        path = self._place()
        self._fill(SearchConfig(**SearchConfig.from_yaml(path)))  # pyright: ignore[reportArgumentType]
        self._mine.add(path)
        return f"loaded {path}"

    def _take(self) -> str:
        if not self.upload.value:
            return ""
        (file,) = self.upload.value
        try:
            text = bytes(file["content"]).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"config {file['name']}: {error}") from error
        self._fill(SearchConfig(**SearchConfig.from_text(text, file["name"])))  # pyright: ignore[reportArgumentType]
        return f"loaded {file['name']}"

    def _save(self) -> str:
        config, path = self._config(), self._place()
        if config is None:
            raise ConfigError("some settings are wrong; correct them, then save")
        if path.exists() and path not in self._mine and not self.overwrite.value:
            raise ConfigError(f"{path} exists already; choose another name, or tick overwrite")
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, _HEAD + config.to_yaml())
        self._mine.add(path)
        return f"saved {path}"

    def _place(self) -> Path:
        text = self.path.value.strip()
        if not text:
            raise ConfigError("file: write the path of a YAML file")
        return Path(text).expanduser().resolve()
