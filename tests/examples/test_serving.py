"""Clients of exports, each against what it is for: TensorFlow's C API, gRPC, and a browser."""

import contextlib
import functools
import http.server
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVING = ROOT / "examples" / "serving"
KEPT = ROOT / "saved_models" / "digits_small" / "1"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_a_program_in_c_says_what_the_model_does(tmp_path):
    """Compiled by the very words at its top."""
    source = (SERVING / "decode.c").read_text()
    command = re.search(r"gcc .*?framework\.so\.2", source, re.DOTALL).group().replace("\\\n", " ")
    environment = {**os.environ, "TF": os.path.dirname(tf.__file__), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = command.replace("-o decode", f"-o {tmp_path / 'decode'}")
    subprocess.run(command, shell=True, check=True, cwd=ROOT, env=environment)
    program = [str(tmp_path / "decode"), str(KEPT), "0.5", "-1.25"]
    done = subprocess.run(program, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    z = np.zeros([1, 32], "float32")
    z[0, :2] = 0.5, -1.25
    mean = tf.saved_model.load(str(KEPT)).signatures["decode"](z=tf.constant(z))["x_mean"]
    found = np.array([line.split() for line in done.stdout.splitlines()], "float32")
    np.testing.assert_allclose(found, mean[0, ..., 0], atol=6e-4)
    wrong = subprocess.run([program[0], str(tmp_path)], capture_output=True, text=True)
    assert wrong.returncode == 1
    assert wrong.stderr.splitlines()[-1].startswith("load: ")


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_program_in_cpp_draws_rows_by_their_seeds(tmp_path):
    source = (SERVING / "generate.cc").read_text().replace("\n//", "\n")
    command = re.search(r"g\+\+ .*?framework\.so\.2", source, re.DOTALL).group()
    environment = {**os.environ, "TF": os.path.dirname(tf.__file__), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = command.replace("\\\n", " ").replace("-o generate", f"-o {tmp_path / 'generate'}")
    subprocess.run(command, shell=True, check=True, cwd=ROOT, env=environment)
    program = [str(tmp_path / "generate"), str(KEPT), "7"]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=True)
    generate = tf.saved_model.load(str(KEPT)).signatures["generate"]
    x = generate(num_samples=tf.constant(1), seed=tf.constant([[7, 0], [7, 1]]))["x"].numpy()
    drawn = ["".join("@@" if pixel else "  " for pixel in row) for row in x[0, ..., 0]]
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()] == drawn


def load(name):
    spec = importlib.util.spec_from_file_location(name, SERVING / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


with_protocols = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("grpc", "tensorflow_serving")),
    reason="needs the extra `serving`",
)


@contextlib.contextmanager
def served(folder, merges=1):
    """A server on the official protocols, which puts requests into one batch as TF Serving does."""
    from concurrent import futures

    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    signatures = tf.saved_model.load(str(folder)).signatures
    waiting, together, answers = [], threading.Barrier(merges), {}

    def answered(requests):
        inputs = [{n: tf.make_ndarray(p) for n, p in r.inputs.items()} for r in requests]
        sizes = [len(next(iter(each.values()))) for each in inputs]
        merged = {n: np.concatenate([each[n] for each in inputs]) for n in inputs[0]}
        name = requests[0].model_spec.signature_name
        out = signatures[name](**{n: tf.constant(value) for n, value in merged.items()})
        split = {n: np.split(value.numpy(), np.cumsum(sizes)[:-1]) for n, value in out.items()}
        return [{n: parts[k] for n, parts in split.items()} for k in range(len(requests))]

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            waiting.append(request)
            if together.wait() == 0:
                try:
                    answers["all"] = list(zip(list(waiting), answered(waiting), strict=True))
                except tf.errors.InvalidArgumentError as error:
                    answers["all"] = error
                waiting.clear()
            together.wait()
            if not isinstance(answers["all"], list):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, answers["all"].message)
            own = next(found for each, found in answers["all"] if each is request)
            response = predict_pb2.PredictResponse()
            for name, value in own.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return response

    server = grpc.server(futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@with_protocols
@pytest.mark.slow
def test_a_client_of_the_official_protocols(capsys):
    with served(KEPT) as address:
        load("grpc_client").main(["--server", address, "--num", "3"])
    printed = capsys.readouterr().out.splitlines()
    assert all(line.startswith(f"digit {k}: log p(x) = -") for k, line in enumerate(printed[:3]))
    assert "refused, as it should be: " in printed[3]
    assert "Signature `encode`: `x` " in printed[3]


@with_protocols
@pytest.mark.slow
def test_two_requests_that_are_merged_know_nothing_of_each_other():
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    client = load("grpc_client")
    signatures = tf.saved_model.load(str(KEPT)).signatures
    x = np.random.default_rng(0).integers(0, 2, (5, 8, 8, 1)).astype("float32")
    seeds = np.arange(10, dtype="int32").reshape(5, 2)
    counts = np.full(5, 3, "int32")
    answers = {}

    def ask(rows, address):
        with grpc.insecure_channel(address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            own = slice(*rows)
            inputs = {"x": x[own], "seed": seeds[own], "num_samples": counts[own]}
            answers[rows] = client.predict(stub, "digits", "elbo", inputs)

    with served(KEPT, merges=2) as address:
        rows = [(0, 2), (2, 5)]
        threads = [threading.Thread(target=ask, args=(each, address)) for each in rows]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for each in rows:
        for row in range(*each):
            alone = signatures["elbo"](
                x=tf.constant(x[row : row + 1]),
                seed=tf.constant(seeds[row]),
                num_samples=tf.constant(3),
            )
            found = answers[each]["elbo"][row - each[0]]
            np.testing.assert_allclose(found, alone["elbo"][0], rtol=1e-4)


EXPLORER = SERVING / "explorer"


def test_the_page_asks_nobody_else_for_anything():
    for name in ("index.html", "style.css", "explorer.js"):
        text = (EXPLORER / name).read_text()
        assert set(re.findall(r"https?://([\w.]+)", text)) <= {"127.0.0.1"}
        assert not re.findall(r"url\((?!data:)", text)
    page = (EXPLORER / "index.html").read_text()
    used = set(re.findall(r'\$\("(\w+)"\)', (EXPLORER / "explorer.js").read_text()))
    assert used <= set(re.findall(r'id="([\w-]+)"', page))
    for command in re.findall(r"(?m)^python (examples/\S+)", page):
        assert (ROOT / command).is_file()


def node_with_puppeteer():
    if shutil.which("node") is None or "NODE_PATH" not in os.environ:
        return False
    return any(
        (pathlib.Path(p) / "puppeteer-core").is_dir() for p in os.environ["NODE_PATH"].split(":")
    )


@pytest.mark.slow
@pytest.mark.skipif(
    not (
        node_with_puppeteer()
        and shutil.which("chromium")
        and (EXPLORER / "vendor" / "ort.wasm.min.js").is_file()
        and (EXPLORER / "model" / "decode.onnx").is_file()
    ),
    reason="needs Chromium, puppeteer-core in NODE_PATH, and the files that the page asks for",
)
def test_the_page_at_work(tmp_path):
    handler = functools.partial(Quiet, directory=str(EXPLORER))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        command = ["node", str(EXPLORER / "check.mjs"), address, shutil.which("chromium")]
        done = subprocess.run(
            [*command, str(tmp_path)], capture_output=True, text=True, env=os.environ
        )
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["desktop.png", "phone.png"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *parts):
        del parts
