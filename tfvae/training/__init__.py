"""The step: what is compiled, which states it holds, and what it logs."""
