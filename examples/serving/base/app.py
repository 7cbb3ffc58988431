"""Serve a model that `fetch` has brought and verified: POST /predict with {"instances": [[…], …]}."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# The types that a skops file may hold beside those of scikit-learn, NumPy and SciPy that skops trusts by itself.
# It says which ones a file asks for and are not here; add those that you know, never simply all that it asks for.
TRUSTED = []

MAX_BODY = 64 << 20


def find_model(folder):
    """Return the one file of the model."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if len(files) != 1:
        sys.exit(f"{folder} has {len(files)} files, and this server is for models of one: {[f.name for f in files]}")
    return files[0]


def load_model(path, wanted):
    """Return the model in `path`, whose format has to be the `wanted` one."""
    found = "skops" if path.suffix == ".skops" else "joblib"
    if found != wanted:
        sys.exit(
            f"{path.name} is of the format {found}, and MODEL_FORMAT is {wanted}. A skops file is data. Loading what "
            "joblib or pickle wrote runs whatever code is in it, so it takes your word that you trust whoever could "
            "write it: set MODEL_FORMAT=joblib, or better, register the skops file."
        )
    if wanted == "joblib":
        import joblib

        return joblib.load(path)
    from skops.io import load

    return load(path, trusted=TRUSTED)


def handler_of(model, name):
    """Return what answers requests: this server's own words, and KServe's V1 protocol."""
    stem = name.partition(":")[0]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path in {"/healthz", f"/v1/models/{stem}"}:
                self.answer(200, {"name": stem, "model": name, "ready": True})
            else:
                self.answer(404, {"error": "use GET /healthz or POST /predict"})

        def do_POST(self):
            if self.path not in {"/predict", f"/v1/models/{stem}:predict"}:
                self.answer(404, {"error": "use POST /predict"})
                return
            size = int(self.headers.get("Content-Length") or 0)
            if size > MAX_BODY:
                self.close_connection = True
                self.answer(413, {"error": f"the body has {size} bytes, and may have {MAX_BODY}"})
                return
            try:
                predictions = model.predict(json.loads(self.rfile.read(size))["instances"])
            except (ValueError, KeyError, TypeError) as error:
                self.answer(400, {"error": f'send {{"instances": [[numbers], …]}}: {error}'})
                return
            self.answer(200, {"model": name, "predictions": predictions.tolist()})

        def answer(self, status, document):
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code="-", size="-"):
            if self.path != "/healthz":
                super().log_request(code, size)

    return Handler


def main():
    folder = Path(os.environ.get("MODEL_FOLDER", "/models/current"))
    # `fetch` leaves the manifest beside the folder; it says which version this is.
    name = json.loads(folder.with_name(folder.name + ".manifest.json").read_text())["id"]
    path = find_model(folder)
    model = load_model(path, os.environ.get("MODEL_FORMAT", "skops"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), handler_of(model, name))
    print(f"serving {name} from {path} on port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
