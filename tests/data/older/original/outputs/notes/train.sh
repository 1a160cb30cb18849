#!/bin/sh
python other.py --epochs 3
