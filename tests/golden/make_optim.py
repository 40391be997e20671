"""Steps of optimisers on a small vector, and the learning rates of schedules."""

from __future__ import annotations

from typing import Any

import torch
from make_recorder import Writer, normal

STEPS = 5
MOMENTUM = {"lr": 0.1, "momentum": 0.9}
SGD: dict[str, dict[str, Any]] = {
    "plain": {"lr": 0.1},
    "weight decay": {"lr": 0.1, "weight_decay": 0.01},
    "momentum": MOMENTUM,
    "momentum, weight decay": {**MOMENTUM, "weight_decay": 1e-4},
    "dampening": {**MOMENTUM, "dampening": 0.5},
    "dampening, weight decay": {**MOMENTUM, "dampening": 0.3, "weight_decay": 0.1},
    "nesterov": {**MOMENTUM, "nesterov": True},
    "nesterov, weight decay": {**MOMENTUM, "nesterov": True, "weight_decay": 0.05},
    "small momentum": {"lr": 0.5, "momentum": 0.1},
    "lr 0": {"lr": 0.0, "momentum": 0.9},
}
ADAM: dict[str, dict[str, Any]] = {
    "defaults": {"lr": 0.1},
    "weight decay": {"lr": 0.05, "weight_decay": 0.1},
    "other betas, large eps": {"lr": 0.1, "betas": [0.5, 0.9], "eps": 0.01},
    "no memory": {"lr": 0.01, "betas": [0.0, 0.0]},
}
OPTIMIZERS = {"SGD": SGD, "Adam": ADAM, "AdamW": ADAM}
# label: (class, initial learning rate, epochs, keyword arguments)
SCHEDULES: dict[str, tuple[str, float, int, dict[str, Any]]] = {
    "halves and quarters": ("MultiStepLR", 0.1, 13, {"milestones": [6, 9]}),
    "gamma 0.5": ("MultiStepLR", 0.2, 8, {"milestones": [1, 2, 5], "gamma": 0.5}),
    "milestone twice": ("MultiStepLR", 0.1, 6, {"milestones": [3, 3]}),
    "unsorted milestones": ("MultiStepLR", 0.1, 8, {"milestones": [5, 2]}),
    "no milestone": ("MultiStepLR", 0.1, 4, {"milestones": []}),
    "every 3": ("StepLR", 0.1, 10, {"step_size": 3}),
    "every epoch": ("StepLR", 1.0, 6, {"step_size": 1, "gamma": 0.9}),
    "to 0": ("CosineAnnealingLR", 0.1, 11, {"T_max": 10}),
    "to eta_min": ("CosineAnnealingLR", 0.1, 9, {"T_max": 8, "eta_min": 0.01}),
    "past T_max": ("CosineAnnealingLR", 0.1, 14, {"T_max": 5, "eta_min": 0.001}),
    "defaults": ("LinearLR", 0.1, 9, {}),
    "warm-up": ("LinearLR", 0.1, 7, {"start_factor": 0.1, "total_iters": 4}),
    "cool-down": ("LinearLR", 0.1, 7, {"start_factor": 1, "end_factor": 0.2, "total_iters": 5}),
}


def optim() -> Writer:
    w = Writer("optim")
    for op, cases in OPTIMIZERS.items():
        for label, kwargs in cases.items():
            name = w.new_name(f"{op} {label}")
            start = torch.from_numpy(normal(f"{name} start", 4))
            grads = torch.from_numpy(normal(f"{name} grads", STEPS, 4))
            parameter = torch.nn.Parameter(start.clone())
            optimizer = getattr(torch.optim, op)([parameter], **kwargs)
            values = []
            for grad in grads:
                parameter.grad = grad.clone()
                optimizer.step()
                values.append(parameter.detach().clone())
            w.entries.append(
                {
                    "kind": "optimizer",
                    "op": op,
                    "name": name,
                    "kwargs": kwargs,
                    "start": w.put(start),
                    "grads": w.put(grads),
                    "values": w.put(torch.stack(values)),
                }
            )
    for label, (op, lr, epochs, kwargs) in SCHEDULES.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
        scheduler = getattr(torch.optim.lr_scheduler, op)(optimizer, **kwargs)
        lrs = []
        for _ in range(epochs):
            lrs.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            scheduler.step()
        w.entries.append(
            {
                "kind": "scheduler",
                "op": op,
                "name": w.new_name(f"{op} {label}"),
                "base_lr": lr,
                "kwargs": kwargs,
                "lrs": w.put(lrs),
            }
        )
    return w
