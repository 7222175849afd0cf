"""The shape of every line that a server logs."""

from __future__ import annotations

import re

LINE = re.compile(
    r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warning|error) [^="]*[^="\s]'
    r'( [a-z_]+=([^\s"=]+|"([^"\\]|\\.)*"))*'
)
