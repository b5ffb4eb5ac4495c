#!/usr/bin/env python3
"""A shop for examples/order.yaml: answers POST /orders, but refuses each order twice with 503 first,
so that the retries can be seen. Listens on 127.0.0.1:9000, or the port given."""
import json
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

refused = Counter()


class Shop(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        # The same for every attempt of one task.
        key = self.headers.get("Idempotency-Key", "")
        refused[key] += 1
        if refused[key] <= 2:
            self.answer(503, {"error": "the till is being counted"})
        else:
            self.answer(200, {"accepted": True, "order": json.loads(body or b"null")})

    def answer(self, status, value):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
ThreadingHTTPServer(("127.0.0.1", port), Shop).serve_forever()
