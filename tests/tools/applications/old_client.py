"""A program written for the first client: calls with a session's id."""

from __future__ import print_function

import datacat


def main():
    client = datacat.DatacatClient()
    session_id = client.register_session()
    for number in range(10):
        client.log_event(session_id, "step", {"number": number})
        client.log_metric(session_id, "progress", number / 10.0)
    client.update_state(session_id, {"status": "running", "nested": {"a": 1}})
    client.update_state(session_id, {"nested": {"b": 2}})
    try:
        raise RuntimeError("what goes wrong")
    except RuntimeError:
        client.log_exception(session_id)
    session = client.get_session(session_id)
    assert session["id"] == session_id
    assert session["state"]["nested"] == {"a": 1, "b": 2}
    assert [each["id"] for each in client.get_all_sessions() if each["id"] == session_id]
    assert client.end_session(session_id) == {"status": "ok"}
    assert client.get_session(session_id)["active"] is False
    print("all is well", session_id)


if __name__ == "__main__":
    main()
