from tests.adapters.postgres.test_writer_processes import *
from tests.conftest import *
import pytest
@pytest.mark.parametrize("n",[2,4])
@pytest.mark.parametrize("tasks",[16,4])
@pytest.mark.parametrize("i",range(2))
def test_f(database,i,tasks,n):
    given(database, 10**12)
    told = together(database, *({"task": "spend", "name": f"p{k}", "seconds": 3, "tasks": tasks} for k in range(n)))
    print("FAIR",n,tasks,[(len(e["accepted"]),e["conflicts"],e["retried"]) for e in told])
