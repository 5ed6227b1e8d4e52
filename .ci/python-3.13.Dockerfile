FROM local/python:3.11-slim
RUN rm -rf /usr/local/pyvenv.cfg /usr/local/bin/* /usr/local/lib/python3*
COPY bin /usr/local/bin
COPY lib /usr/local/lib
RUN ldconfig && rm -rf /usr/local/lib/python3.13/test \
 && sed -i 's|^#!.*/python3.13$|#!/usr/local/bin/python3|' /usr/local/bin/pip3 \
 && ln -sf pip3 /usr/local/bin/pip \
 && python3 -c 'import ssl, sqlite3, ctypes, zlib, lzma, bz2' && pip --version
