#!/usr/bin/env python3
"""Records the tokens that a stock rsync sends to another, one file of tokens for each compression.

    record.py FOLDER        needs rsync 3.5.0

Every recording is of one connection, which brings the files of `files()` in turn: for each, the head
of its block sums as the sender echoes it, its tokens, and its MD5. `tests/tokens.rs` makes the same
files anew.
"""
import hashlib, os, struct, subprocess, sys, tempfile, threading

WORDS = "lorem ipsum dolor sit amet consectetur adipiscing elit".split()
MASK = (1 << 64) - 1


def random(seed):
    state = seed
    while True:  # SplitMix64
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
        yield z ^ z >> 31


def text(seed, length):
    out = bytearray()
    words = random(seed)
    while len(out) < length:
        r = next(words)
        out += f"{r % 1000:03} {WORDS[r >> 20 & 7]} {WORDS[r >> 30 & 7]}\n".encode()
    return bytes(out[:length])


def noise(seed, length):
    words = random(seed)
    return b"".join(struct.pack("<Q", next(words)) for _ in range(length // 8 + 1))[:length]


def files(block):
    """(name, basis or None, content), in the order of their names."""
    basis = text(1, 160 * block + 123)
    b = [basis[i : i + block] for i in range(0, len(basis), block)]
    delta = [text(2, 3 * block // 2), *b[3:60], noise(3, 1000), b[70], b[71], b[2], b[150], b"x", *b[60:]]
    yield "a-new", None, text(4, 20000) + noise(5, 17000) + b"\0" * 40000
    yield "b-delta", basis, b"".join(delta)
    yield "c-empty", None, b""
    yield "d-same", basis, basis
    yield "e-rewritten", basis, b"".join(b[:5] + [text(6, len(b[5]))] + b[6:])
    yield "f-short", None, b"end\n"


def pump(source, sinks):
    while data := os.read(source, 65536):
        for sink in sinks:
            sink.write(data)
            sink.flush()
    for sink in sinks:
        sink.close()


def remote(command):
    """Stands for the remote shell: runs the server, and keeps what it says and is told."""
    folder = os.environ["RECORD_TO"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    up = threading.Thread(target=pump, args=(0, [open(f"{folder}/up", "wb"), server.stdin]))
    up.daemon = True
    up.start()
    pump(server.stdout.fileno(), [open(f"{folder}/down", "wb"), os.fdopen(1, "wb", 0)])
    sys.exit(server.wait())


def demultiplexed(stream):
    out = bytearray()
    while stream:
        (head,) = struct.unpack_from("<I", stream)
        length, tag = head & 0xFFFFFF, (head >> 24) - 7
        if not 0 <= tag <= 102 or len(stream) < 4 + length:
            raise ValueError("no frames")
        if tag == 0:
            out += stream[4 : 4 + length]
        stream = stream[4 + length :]
    return bytes(out)


def record(name, block, options):
    with tempfile.TemporaryDirectory() as temp:
        for side in "source", "target":
            os.mkdir(f"{temp}/{side}")
        all_files = list(files(block))
        for file, basis, content in all_files:
            open(f"{temp}/source/{file}", "wb").write(content)
            if basis is not None:
                open(f"{temp}/target/{file}", "wb").write(basis)
        env = os.environ | {"RECORD_TO": temp}
        shell = f"{sys.executable} {os.path.abspath(__file__)} --remote"
        rsync = ["rsync", "-rI", "--no-inc-recursive", "--checksum-choice=md5", "--checksum-seed=0"]
        rsync += [f"-B{block}", "-e", shell, *options, f"{temp}/source/", f"host:{temp}/target/"]
        subprocess.run(rsync, env=env, check=True, timeout=60)
        up = open(f"{temp}/up", "rb").read()
        out = b""
        # What precedes the frames differs: take the first offset from where all is frames.
        for start in range(len(up)):
            try:
                plain = demultiplexed(up[start:])
                break
            except (struct.error, ValueError):
                continue
        for file, basis, content in all_files:
            assert open(f"{temp}/target/{file}", "rb").read() == content
            head = bytes(16)
            if basis is not None:
                count, remainder = -(-len(basis) // block), len(basis) % block
                head = struct.pack("<III", count, block, 2)
                at = plain.index(head[:8])
                assert struct.unpack_from("<I", plain, at + 12) == (remainder,)
            else:
                at = plain.index(head)
            digest = hashlib.md5(content).digest()
            end = plain.index(digest, at) + 16
            out += plain[at:end]
            plain = plain[end:]
        open(f"{sys.argv[1]}/{name}.tokens", "wb").write(out)
        print(name, len(out))


if __name__ == "__main__":
    if sys.argv[1] == "--remote":
        remote(sys.argv[3:])
    for choice in "none", "zstd", "lz4", "zlibx", "zlib":
        record(choice, 700, [f"--compress-choice={choice}"])
    # Blocks that enter zlib's history in two pieces; an old peer takes the first piece twice.
    record("zlib-long", 70000, ["--compress-choice=zlib"])
    record("zlib-long-30", 70000, ["--compress-choice=zlib", "--protocol=30"])
