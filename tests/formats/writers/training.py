"""Folders and files of the libraries that run the training: Trainer, accelerate, Lightning, PEFT."""

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import accelerate
import lightning
import peft
import torch
import transformers
from torch import nn
from transformers import Trainer, TrainingArguments

from models import bert, llama, seeded
from oracle import Oracle, writes
from torch_oracle import flat, optimizer, parameters
from writers.hf import safetensors

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Sentences(torch.utils.data.Dataset):
    """Eight made-up sentences to predict."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = torch.arange(6) + 10 * index
        return {"input_ids": tokens, "labels": tokens}


@writes("trainer/bert")
def _(folder: Path) -> Oracle:
    # Trainer sorts the parameters in two groups, with weight decay first; its numbers follow the groups, and nothing in
    # the folder tells the order of the parameters: safetensors sorts them.
    model = bert()
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            max_steps=3,
            save_steps=3,
            weight_decay=0.01,
            per_device_train_batch_size=2,
            report_to=[],
            use_cpu=True,
            logging_steps=1,
            disable_tqdm=True,
            seed=7,
        )
        trainer = Trainer(model, arguments, train_dataset=Sentences())
        trainer.train()
        assert len(trainer.optimizer.param_groups) == 2
        (Path(scratch) / "checkpoint-3").rename(folder / "checkpoint-3")
    target = folder / "checkpoint-3"
    loaded = torch.load(target / "optimizer.pt", weights_only=True)
    state = json.loads((target / "trainer_state.json").read_text())
    return Oracle(
        "checkpoint-3",
        safetensors(target / "model.safetensors"),
        family="bert",
        class_="BertForMaskedLM",
        parameters=parameters(transformers.BertForMaskedLM.from_pretrained(target)),
        optimizer=optimizer("adamw", loaded),
        metadata={"global_step": state["global_step"], "epoch": state["epoch"], "max_steps": 3},
    )


@writes("accelerate/state")
def _(folder: Path) -> Oracle:
    model = bert()
    chosen = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(chosen, 1)
    accelerator = accelerate.Accelerator(cpu=True)
    model, chosen, schedule = accelerator.prepare(model, chosen, schedule)
    for _ in range(2):
        accelerator.backward(model(input_ids=torch.ones(1, 4, dtype=torch.int64)).logits.square().sum())
        chosen.step()
        chosen.zero_grad()
    accelerator.save_state(folder / "model")
    loaded = torch.load(folder / "model/optimizer.bin", weights_only=True)
    return Oracle(
        "model",
        safetensors(folder / "model/model.safetensors"),
        family="bert",
        parameters=parameters(model),
        optimizer=optimizer("adamw", loaded),
    )


class Settings:
    """A class that only the training script has."""

    def __init__(self) -> None:
        self.width = 6


class Lit(lightning.LightningModule):
    """A small regression with its settings."""

    def __init__(self, width: int, settings: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 1))

    def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
        return self.model(batch).square().mean()

    def configure_optimizers(self) -> Any:
        chosen = torch.optim.Adam(self.parameters(), lr=0.01)
        return [chosen], [torch.optim.lr_scheduler.StepLR(chosen, 1)]


def lit(folder: Path, settings: Any) -> Oracle:
    """One epoch and a checkpoint."""
    module = seeded(Lit, 6, settings)
    loader = torch.utils.data.DataLoader(torch.linspace(-1, 1, 32).reshape(8, 4), batch_size=4)
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, loader)
    trainer.save_checkpoint(folder / "model.ckpt")
    loaded = torch.load(folder / "model.ckpt", weights_only=False)
    names = [name for name, _ in module.named_parameters()]
    return Oracle(
        "model.ckpt",
        flat(loaded["state_dict"]),
        parameters=parameters(module),
        optimizer=optimizer("adam", loaded["optimizer_states"][0], names),
        metadata={"epoch": 1, "global_step": 2, "pytorch-lightning_version": lightning.__version__, "width": 6},
    )


@writes("lightning/plain")
def _(folder: Path) -> Oracle:
    return lit(folder, None)


@writes("lightning/own-class")
def _(folder: Path) -> Oracle:
    return lit(folder, Settings())


@writes("peft/lora")
def _(folder: Path) -> Oracle:
    settings = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(llama(), settings)
    torch.manual_seed(7)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.normal_()
    model.save_pretrained(folder / "model")
    return Oracle(
        "model",
        safetensors(folder / "model/adapter_model.safetensors"),
        metadata={"peft_type": "LORA", "r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"},
    )


@writes("peft/dora")
def _(folder: Path) -> Oracle:
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], use_dora=True, modules_to_save=["lm_head"])
    model = peft.get_peft_model(llama(), settings)
    model.save_pretrained(folder / "model")
    return Oracle(
        "model",
        safetensors(folder / "model/adapter_model.safetensors"),
        metadata={"peft_type": "LORA", "use_dora": True},
    )
