# SPDX-License-Identifier: Apache-2.0
"""org.varlink.service: the daemon describes itself with the same files that document the interface."""

from fluxgym import __version__, interfaces
from fluxgym.errors import InterfaceNotFound
from fluxgym.protocol import methods as m
from fluxgymd.api.calls import Route, Send


async def get_info(_: m.Nothing, __: Send) -> m.GetInfoReply:
    return m.GetInfoReply(
        vendor="FluxGym",
        product="fluxgymd",
        version=__version__,
        url="https://fluxgym.org",
        interfaces=list(m.INTERFACES),
    )


async def get_interface_description(
    parameters: m.GetInterfaceDescriptionParameters, _: Send
) -> m.GetInterfaceDescriptionReply:
    if parameters.interface not in m.INTERFACES:
        raise InterfaceNotFound(f"There is no interface {parameters.interface}.", interface=parameters.interface)
    return m.GetInterfaceDescriptionReply(description=interfaces.description(parameters.interface))


def routes() -> list[Route]:
    return [Route(m.GET_INFO, get_info), Route(m.GET_INTERFACE_DESCRIPTION, get_interface_description)]
