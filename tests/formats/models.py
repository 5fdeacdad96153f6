"""Small models of every family, with the weights that a seed gives."""

from typing import Any

import timm
import torch
import transformers
from torch import nn
from transformers import PreTrainedModel


def seeded(make: Any, *arguments: Any, **settings: Any) -> Any:
    """Makes a model in which no two parameters are alike, the same in every run."""
    torch.manual_seed(7)
    model = make(*arguments, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)
    return model


def bert() -> PreTrainedModel:
    """BERT with the masked language model's tied head."""
    config = transformers.BertConfig(
        vocab_size=120,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
    )
    return seeded(transformers.BertForMaskedLM, config)


def gpt2() -> PreTrainedModel:
    """GPT-2 with its tied head."""
    config = transformers.GPT2Config(vocab_size=120, n_embd=24, n_layer=2, n_head=2, n_positions=32)
    return seeded(transformers.GPT2LMHeadModel, config)


def llama() -> PreTrainedModel:
    """A modern decoder with grouped keys, in bfloat16."""
    config = transformers.LlamaConfig(
        vocab_size=160,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    return seeded(transformers.LlamaForCausalLM, config).to(torch.bfloat16)


def mixtral() -> PreTrainedModel:
    """A mixture of experts, whose file and memory name them differently."""
    config = transformers.MixtralConfig(
        vocab_size=96,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=3,
        max_position_embeddings=32,
    )
    return seeded(transformers.MixtralForCausalLM, config)


def t5() -> PreTrainedModel:
    """T5, whose embedding is in three places."""
    config = transformers.T5Config(vocab_size=96, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return seeded(transformers.T5ForConditionalGeneration, config)


def resnet() -> PreTrainedModel:
    """ResNet of transformers, with running statistics."""
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], layer_type="basic", num_labels=5
    )
    return seeded(transformers.ResNetForImageClassification, config)


def timm_resnet() -> nn.Module:
    """ResNet of timm, narrowed to a few kilobytes."""
    return seeded(timm.create_model, "resnet18", num_classes=5, channels=(4, 8, 8, 16), stem_width=4, in_chans=3)


def whisper() -> PreTrainedModel:
    """Whisper with its tied projection."""
    config = transformers.WhisperConfig(
        vocab_size=96,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        num_mel_bins=8,
        max_source_positions=20,
        max_target_positions=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    return seeded(transformers.WhisperForConditionalGeneration, config)


def wav2vec2() -> PreTrainedModel:
    """wav2vec2 with weight-normalised positional convolutions."""
    config = transformers.Wav2Vec2Config(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8, 8),
        conv_stride=(5, 2),
        conv_kernel=(10, 3),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    return seeded(transformers.Wav2Vec2ForCTC, config)


FAMILIES = {
    "bert": bert,
    "gpt2": gpt2,
    "llama": llama,
    "mixtral": mixtral,
    "t5": t5,
    "resnet": resnet,
    "whisper": whisper,
    "wav2vec2": wav2vec2,
}
"""Models that transformers writes, by its own word for their kind."""
