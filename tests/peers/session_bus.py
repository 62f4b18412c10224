"""A session bus with a keyring and a desktop: python3 session_bus.py SOCKET STATE

The bus has one client at a time and one service, this one. It speaks D-Bus's wire format, the interfaces of
org.freedesktop.Secret that storing, finding, reading and removing an item needs, with both session algorithms, and
org.freedesktop.Notifications.Notify. STATE is a JSON file, read before every request and written after every change:
{"items": [{"attributes": {...}, "secret": "..."}], "notices": [{...}], "mode": "open" | "locked" | "silent"}
"locked": every unlocking opens a dialog, which is dismissed. "silent": no request of the service is answered.
"""

import json
import os
import socket
import sys
import threading

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from jeepney import DBusAddress, HeaderFields, MessageType, new_error, new_method_return, new_signal
from jeepney.low_level import Parser
from secretstorage.dhcrypto import DH_PRIME_1024, Session

ROOT = "/org/freedesktop/secrets"
COLLECTION = ROOT + "/collection/login"
PROMPT = ROOT + "/prompt/p1"
DH = "dh-ietf1024-sha256-aes128-cbc-pkcs7"


class Client:
    def __init__(self, connection, state):
        self.connection = connection
        self.state_path = state
        self.session = None
        self.serial = 1000

    def state(self):
        with open(self.state_path) as file:
            return json.load(file)

    def save(self, state):
        with open(self.state_path + ".new", "w") as file:
            json.dump(state, file)
        os.rename(self.state_path + ".new", self.state_path)

    def send(self, message, sender=":1.2"):
        self.serial += 1
        message.header.fields[HeaderFields.sender] = sender
        message.header.fields[HeaderFields.destination] = ":1.1"
        self.connection.sendall(message.serialise(self.serial))

    def serve(self):
        rest = self.authenticate()
        parser = Parser()
        parser.add_data(rest)
        while True:
            message = parser.get_next_message()
            if message is not None:
                self.handle(message)
                continue
            data = self.connection.recv(65536)
            if not data:
                return
            parser.add_data(data)

    def authenticate(self):
        data = b""
        while True:
            more = self.connection.recv(4096)
            if not more:
                sys.exit()
            data += more
            while b"\r\n" in data:
                line, data = data.split(b"\r\n", 1)
                line = line.lstrip(b"\0")
                if line.startswith(b"AUTH"):
                    self.connection.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
                elif line.startswith(b"NEGOTIATE_UNIX_FD"):
                    self.connection.sendall(b"ERROR\r\n")
                elif line == b"BEGIN":
                    return data

    def handle(self, message):
        if message.header.message_type is not MessageType.method_call:
            return
        fields = message.header.fields
        if fields.get(HeaderFields.destination) == "org.freedesktop.DBus":
            answer = self.bus(fields[HeaderFields.member], message)
            return self.send(answer, "org.freedesktop.DBus")
        if self.state()["mode"] == "silent":
            return
        try:
            signature, body = self.service(fields, message.body)
        except LookupError as error:
            return self.send(new_error(message, "org.freedesktop.Secret.Error.NoSuchObject", "s", (str(error),)))
        self.send(new_method_return(message, signature, body))
        if fields[HeaderFields.member] == "Prompt":
            address = DBusAddress(PROMPT, interface="org.freedesktop.Secret.Prompt")
            self.send(new_signal(address, "Completed", "bv", (True, ("s", ""))))

    def bus(self, member, message):
        answers = {
            "Hello": ("s", (":1.1",)),
            "GetNameOwner": ("s", (":1.2",)),
            "NameHasOwner": ("b", (True,)),
            "StartServiceByName": ("u", (2,)),
        }
        signature, body = answers.get(member, (None, ()))
        return new_method_return(message, signature, body)

    def service(self, fields, body):
        path, member = fields[HeaderFields.path], fields[HeaderFields.member]
        state = self.state()
        items, locked = state["items"], state["mode"] == "locked"
        item_path = lambda index: f"{COLLECTION}/{index}"
        if member == "Notify":
            name, replaces, icon, summary, text, actions, hints, timeout = body
            urgency = hints["urgency"][1]
            notice = {"name": name, "summary": summary, "text": text, "actions": actions, "urgency": urgency}
            state.setdefault("notices", []).append(notice)
            self.save(state)
            return "u", (1,)
        if member == "OpenSession":
            return self.open(*body)
        if member == "SearchItems":
            found = [
                item_path(index) for index, item in enumerate(items)
                if item and body[0].items() <= item["attributes"].items()
            ]
            return "aoao", ([], found) if locked else (found, [])
        if member == "Unlock":
            return "aoo", ([], PROMPT) if locked else (body[0], "/")
        if member == "ReadAlias":
            return "o", (COLLECTION,)
        if member == "Prompt":
            return None, ()
        if member == "CreateItem":
            properties, secret, _ = body
            attributes = properties["org.freedesktop.Secret.Item.Attributes"][1]
            items.append({"attributes": attributes, "secret": self.opened(secret)})
            self.save(state)
            return "oo", (item_path(len(items) - 1), "/")
        if member == "Get":
            return "v", ({"Locked": ("b", locked), "Label": ("s", "login")}[body[1]],)
        if member == "GetAll":
            return "a{sv}", ({"Locked": ("b", locked), "Label": ("s", "login")},)
        index = int(path.removeprefix(COLLECTION + "/"))
        if items[index] is None:
            raise LookupError(path)
        if member == "GetSecret":
            return "(oayays)", (self.closed(items[index]["secret"]),)
        if member == "SetSecret":
            items[index]["secret"] = self.opened(body[0])
            self.save(state)
            return None, ()
        if member == "Delete":
            items[index] = None
            self.save(state)
            return "o", ("/",)
        raise LookupError(f"{path} {member}")

    def open(self, algorithm, given):
        self.session = Session()
        self.session.encrypted = algorithm == DH
        ours = ("s", "")
        if self.session.encrypted:
            self.session.set_server_public_key(int.from_bytes(given[1], "big"))
            ours = ("ay", pow(2, self.session.my_private_key, DH_PRIME_1024).to_bytes(128, "big"))
        return "vo", (ours, ROOT + "/session/s1")

    def opened(self, secret):
        _, iv, value, _ = secret
        if self.session.encrypted:
            decryptor = Cipher(algorithms.AES(self.session.aes_key), modes.CBC(iv)).decryptor()
            value = decryptor.update(value) + decryptor.finalize()
            value = value[: -value[-1]]
        return value.decode()

    def closed(self, text):
        value, iv = text.encode(), b""
        if self.session.encrypted:
            iv, padding = os.urandom(16), 16 - len(value) % 16
            encryptor = Cipher(algorithms.AES(self.session.aes_key), modes.CBC(iv)).encryptor()
            value = encryptor.update(value + bytes([padding]) * padding) + encryptor.finalize()
        return (ROOT + "/session/s1", iv, value, "text/plain")


def main(path, state):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=Client(connection, state).serve, daemon=True).start()


main(*sys.argv[1:])
