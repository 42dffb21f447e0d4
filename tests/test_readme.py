"""The README's programs run as they stand, one after another."""

import re
from pathlib import Path

import pytest

import tfvae

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.slow
def test_programs_run_as_they_stand(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for index, block in enumerate(blocks):
        exec(compile(block, "README.md", "exec"), namespace)
        if index == 0:
            # 64 binary pixels at random weigh 44.4 nats: thirty epochs must have learnt something.
            vae, data = namespace["vae"], namespace["data"]
            result = tfvae.log_likelihood(vae, data.x_test, 100, verbose=False)
            assert -25.0 < result.mean < -15.0
    text = capsys.readouterr().out
    assert "ELBO ledger of 447 points" in text
    assert namespace["x_new"].shape == (64, 8, 8, 1)
    assert namespace["scores"]["log_prob"].shape == (4,)


@pytest.mark.parametrize("extra", ["examples", "test"])
def test_names_the_two_commands(extra):
    assert re.search(rf'^pip install "\.\[{extra}\]" && ', README, re.MULTILINE)
