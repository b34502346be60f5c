"""A real LLM server for tests: llama.cpp's own HTTP server with a model of random weights.

Run as a program: ``python llama_server.py MODEL.gguf PORT SLOTS [CONTEXT]``. The model is written by
:func:`write_model` (a two-layer llama of about 1 MB); its text is gibberish, its queue, batching and metrics are real.
"""

import sys
import time
from pathlib import Path

import numpy as np

VOCABULARY = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *(f"▁w{n}" for n in range(125))]
WIDTH, LAYERS, HEADS, FEED_FORWARD = 64, 2, 4, 128


def write_model(path: Path, *, context: int = 8192) -> None:
    """Write a random llama in GGUF form."""
    import gguf

    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(VOCABULARY))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(VOCABULARY)
    writer.add_token_scores([0.0] * len(VOCABULARY))
    kind = gguf.TokenType
    types = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256 + [kind.NORMAL] * (len(VOCABULARY) - 259)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(False)  # a grammar begins at the first byte

    def random(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.05).astype(np.float32)

    writer.add_tensor("token_embd.weight", random(len(VOCABULARY), WIDTH))
    writer.add_tensor("output.weight", random(len(VOCABULARY), WIDTH))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        writer.add_tensor(block + "attn_norm.weight", np.ones(WIDTH, np.float32))
        writer.add_tensor(block + "ffn_norm.weight", np.ones(WIDTH, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{block}{name}.weight", random(WIDTH, WIDTH))
        writer.add_tensor(block + "ffn_gate.weight", random(FEED_FORWARD, WIDTH))
        writer.add_tensor(block + "ffn_up.weight", random(FEED_FORWARD, WIDTH))
        writer.add_tensor(block + "ffn_down.weight", random(WIDTH, FEED_FORWARD))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(model: str, port: int, slots: int, context: int = 2048) -> None:
    """Serve until killed; ``context`` is tokens per slot."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = context * slots
    params.n_parallel = slots
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.cpuparams.n_threads = 1
    params.hostnames = ["127.0.0.1"]
    params.port = port
    server = xllamacpp.Server(params)
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    serve(sys.argv[1], *map(int, sys.argv[2:]))
