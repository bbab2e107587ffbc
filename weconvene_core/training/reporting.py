"""What a run shows and writes while it goes on: the progress bar, and one row of figures every few steps."""

from __future__ import annotations

from typing import Any

import torch
from tqdm import tqdm

from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage
from weconvene_core.training.distributed import ProcessGroup
from weconvene_core.training.log import LOG, VALIDATION_LOG, Row, RunLog
from weconvene_core.training.losses import RateDistortion
from weconvene_core.training.objective import fast_bfloat16
from weconvene_core.training.throughput import convolution_rate, device_name, gpu_percent, step_flops


class Reporter:
    """Turns the terms of a step into a row of the log and a line of the bar; only the leading process shows and writes.

    Beside the loss every row holds the speed since the row before: ``pixels_per_second`` of all processes, ``gflops``
    of this one, and ``conv_percent``, what that is of the machine's measured convolution rate.
    """

    def __init__(self, log: RunLog, device: torch.device, team: ProcessGroup) -> None:
        self.log, self.device, self.team = log, device, team
        self._flops: dict[Stage, float] = {}
        self._before = (0, 0.0)

    def start(self, step: int, seconds: float, total_steps: int) -> tqdm[Any]:
        """Open the log and the bar of a run that stands at ``step`` after ``seconds`` of training."""
        self._before = step, seconds
        if self.team.leads:
            self.log.start(step)
            kind, rate = "bfloat16" if fast_bfloat16(self.device) else "float32", convolution_rate(self.device)
            tqdm.write(f"{device_name(self.device)}: convolutions reach {rate / 1e9:.0f} GFLOP/s ({kind})")
        return tqdm(total=total_steps, initial=step, unit="step", mininterval=1.0, disable=not self.team.leads)

    def training(self, position: Row, phase: Stage, terms: RateDistortion, model: WeConvene, bar: tqdm[Any]) -> None:
        """Report a step: ``position`` holds its step, phase, learning rate and seconds."""
        means = self._means(terms)
        if self.team.leads:
            speed = self._speed(position["step"], position["seconds"], phase, model)
            row = {**position, **means, "pixels": phase.batch * phase.crop**2, **speed}
            self.log.write(LOG, row)
            bar.set_postfix_str(_postfix(row))

    def validation(self, step: int, seconds: float, measured: list[Row], bar: tqdm[Any]) -> None:
        """Report what whole images gave, one row per quality."""
        for row in measured:
            self.log.write(VALIDATION_LOG, {"step": step, "seconds": round(seconds, 1), **row})
        each = (f"{row['set']} q{row['quality']:g} loss {row['loss']:.4f} {row['psnr_db']:.2f} dB" for row in measured)
        bar.write(f"step {step}: " + "  ".join(each))

    def _means(self, terms: RateDistortion) -> dict[str, float]:
        """Average the terms of a step over the images and the processes."""
        psnr_db = -10 * terms.mse.log10()
        means = {
            "loss": terms.balanced(), "bpp": terms.bpp.mean(), "bpp_lf": terms.r_lf.mean(),
            "bpp_hf": terms.r_hf.mean(), "bpp_z": terms.r_z.mean(), "psnr_db": psnr_db.mean(),
        }  # fmt: skip
        values = self.team.mean(torch.stack(list(means.values())).detach())
        return dict(zip(means, values.tolist(), strict=True))

    def _speed(self, step: int, seconds: float, phase: Stage, model: WeConvene) -> dict[str, float | str]:
        steps, elapsed = step - self._before[0], max(seconds - self._before[1], 1e-9)
        self._before = step, seconds
        if phase not in self._flops:
            self._flops[phase] = step_flops(model, phase) / self.team.size
        yardstick, rate = convolution_rate(self.device), self._flops[phase] * steps / elapsed
        speed = {
            "pixels_per_second": round(steps * phase.batch * phase.crop**2 / elapsed),
            "gflops": round(rate / 1e9, 1), "conv_percent": round(100 * rate / yardstick, 1),
        }  # fmt: skip
        busy = gpu_percent(self.device)  # the column is there on a CPU too: a run may move between the two
        return {**speed, "gpu_percent": "" if busy is None else busy}


def _postfix(row: Row) -> str:
    text = (
        f"{row['phase']} | loss {row['loss']:.3f} {row['bpp']:.3f} bpp {row['psnr_db']:.2f} dB | "
        f"{row['pixels_per_second'] / 1e6:.2f} Mpixel/s, {row['conv_percent']:.0f} % of convolution rate"
    )
    return text + (f", GPU {row['gpu_percent']} %" if row["gpu_percent"] != "" else "")
