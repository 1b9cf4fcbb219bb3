"""Asks through libcurl with c-ares: connects to each name, and curl says on standard error which
addresses it tries. Nothing listens there."""
import sys

from curl_cffi import Curl, CurlError, CurlOpt

for name in sys.argv[1:]:
    curl = Curl()
    curl.setopt(CurlOpt.URL, f"http://{name}:8080/".encode())
    curl.setopt(CurlOpt.VERBOSE, 1)
    curl.setopt(CurlOpt.CONNECTTIMEOUT_MS, 1000)
    try:
        curl.perform()
    except CurlError:
        pass
    curl.close()
