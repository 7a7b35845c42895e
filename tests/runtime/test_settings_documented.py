"""Every setting stands where a user looks for it."""

from pathlib import Path

from runtime.settings import Settings

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


def test_every_setting_is_documented() -> None:
    text = DOCS.read_text()
    assert [name for name in Settings.model_fields if f"`HOLDFAST_{name.upper()}`" not in text] == []
