"""manage.py config import: where it writes, what it says, and that it applies nothing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from providers.models import Provider
from routing.configfile import load_yaml, parse

SAMPLE = Path(__file__).parent / "samples" / "litellm.yaml"
SECRET = "az-literal-0123456789abcdef"


def ran(*words: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("config", "import", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.mark.django_db
def test_the_document_is_on_standard_output_and_the_report_beside_it() -> None:
    out, err = ran("litellm", str(SAMPLE))
    assert "azure" in parse(load_yaml(out)).providers
    assert "Left out:" in err
    assert SECRET not in out + err
    assert not Provider.objects.exists()


def test_secrets_go_into_a_private_file_only(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="needs --output"):
        ran("litellm", str(SAMPLE), "--include-secrets")
    path = tmp_path / "gateway.yaml"
    out, err = ran("litellm", str(SAMPLE), "--include-secrets", "--output", str(path))
    assert SECRET in path.read_text()
    assert SECRET not in out + err
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CommandError, match="exists"):
        ran("litellm", str(SAMPLE), "--output", str(path))
    ran("litellm", str(SAMPLE), "--output", str(path), "--force")
    assert SECRET not in path.read_text()


def test_a_file_that_is_not_there_or_is_wrong_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        ran("litellm", str(tmp_path / "none.yaml"))
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("model_list: 7")
    with pytest.raises(CommandError, match="model_list: expected a list"):
        ran("litellm", str(wrong))
    with pytest.raises(CommandError, match="not valid JSON"):
        ran("one-api", str(wrong))
