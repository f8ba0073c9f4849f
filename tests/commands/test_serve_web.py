"""deepdeblur serve_web as its users meet it."""

import http.server


def test_the_address_is_printed_and_ctrl_c_ends_it(run_here, monkeypatch, tmp_path):
    (tmp_path / "index.html").write_text("page")

    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(http.server.ThreadingHTTPServer, "serve_forever", interrupt)
    finished = run_here("serve_web", tmp_path, "--port=0")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("http://127.0.0.1:")


def test_mistakes_are_one_line(run_here, tmp_path):
    for words, code, message in (([], 2, "give the folder of one page"), ([tmp_path], 1, "holds no index.html")):
        finished = run_here("serve_web", *words)
        assert (finished.returncode, len(finished.stderr.splitlines())) == (code, 1)
        assert message in finished.stderr
