"""What `import vaelab` gives."""

import subprocess
import sys
from importlib.metadata import version

import vaelab


def test_the_package_shows_what_it_has():
    assert {"Run", "load_run", "__version__"} <= set(dir(vaelab))
    assert all(hasattr(vaelab, name) for name in dir(vaelab))
    assert vaelab.__version__ == version("vaelab")


def test_looking_at_the_package_does_not_import_torch():
    code = "import sys, vaelab; dir(vaelab), vaelab.__version__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
