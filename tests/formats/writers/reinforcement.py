"""stable-baselines3: policies with their optimizers, and a replay buffer.

A tensor is called as in the policy's state dict; the optimizer knows the first parameters of the policy in their order.
"""

import pickle
import zipfile
from pathlib import Path

import gymnasium
import numpy as np
import torch
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.save_util import load_from_pkl, save_to_pkl

from numpy_oracle import arrays
from oracle import Oracle, writes
from torch_oracle import flat, optimizer, parameters


def described(folder: Path, made: BaseAlgorithm, trained: torch.nn.Module) -> Oracle:
    """The zip as the library loads it; the files inside are torch's."""
    made.save(folder / "model.zip")
    loaded = type(made).load(folder / "model.zip", device="cpu")
    with zipfile.ZipFile(folder / "model.zip") as archive, archive.open("policy.optimizer.pth") as file:
        state = torch.load(file, weights_only=True)
    names = {id(value): name for name, value in made.policy.named_parameters()}
    order = [names[id(value)] for value in trained.parameters()]
    return Oracle(
        "model.zip",
        flat(loaded.policy.state_dict()),
        family="stable-baselines3",
        class_=type(made.policy).__name__,
        parameters=parameters(loaded.policy),
        optimizer=optimizer("adam", state, order),
        metadata={"num_timesteps": made.num_timesteps, "gamma": 0.95},
    )


@writes("stable-baselines3/ppo")
def _(folder: Path) -> Oracle:
    policy = {"net_arch": [8]}
    made = PPO("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=8, n_epochs=1, gamma=0.95, seed=7, device="cpu",
               policy_kwargs=policy)  # fmt: skip
    made.learn(32)
    return described(folder, made, made.policy)


@writes("stable-baselines3/dqn")
def _(folder: Path) -> Oracle:
    policy = {"net_arch": [8]}
    made = DQN("MlpPolicy", "CartPole-v1", buffer_size=64, learning_starts=8, batch_size=4, gamma=0.95, seed=7,
               device="cpu", policy_kwargs=policy)  # fmt: skip
    made.learn(32)
    return described(folder, made, made.policy.q_net)


@writes("stable-baselines3/replay-buffer")
def _(folder: Path) -> Oracle:
    environment = gymnasium.make("CartPole-v1")
    buffer = ReplayBuffer(20, environment.observation_space, environment.action_space, device="cpu")
    random = np.random.default_rng(7)
    for _ in range(12):
        now, later = random.normal(size=(2, 1, 4)).astype(np.float32)
        buffer.add(now, later, np.array([[1]]), np.array([1.0]), np.array([False]), [{}])
    save_to_pkl(folder / "replay_buffer.pkl", buffer)
    loaded = load_from_pkl(folder / "replay_buffer.pkl")
    assert pickle.dumps(loaded)
    found = {name: value for name, value in vars(loaded).items() if isinstance(value, np.ndarray)}
    # The spaces of the environment have arrays, too.
    found |= {
        f"observation_space.{name}": value
        for name, value in vars(loaded.observation_space).items()
        if isinstance(value, np.ndarray)
    }
    names = [name for name in found if name.startswith("observation_space")]
    tensors = arrays({name: value for name, value in found.items() if name not in names})
    return Oracle(
        "replay_buffer.pkl",
        tensors,
        family="stable-baselines3",
        class_="ReplayBuffer",
        metadata={"pos": 12, "buffer_size": 20},
        optional=names,
    )
